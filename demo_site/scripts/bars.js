// Ten bars for ten probabilities.

/** Fills a list element with ten bars and moves them. */
export class Bars {
  #rows;

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#rows = Array.from({ length: 10 }, (_, digit) => {
      const row = document.createElement("li");
      row.innerHTML = `<b>${digit}</b><span class="track"><span class="fill"></span></span><output></output>`;
      list.append(row);
      return row;
    });
    this.show(null);
  }

  /** @param {ArrayLike<number> | null} probabilities  null: nothing drawn yet */
  show(probabilities) {
    const best = probabilities ? argmax(probabilities) : -1;
    this.#rows.forEach((row, digit) => {
      const value = probabilities ? probabilities[digit] : 0;
      row.classList.toggle("best", digit === best);
      row.querySelector(".fill").style.transform = `scaleX(${value})`;
      row.querySelector("output").textContent = probabilities ? `${(value * 100).toFixed(value > 0.995 ? 0 : 1)}%` : "";
    });
  }
}

/** @param {ArrayLike<number>} values */
export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
