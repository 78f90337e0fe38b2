"""Makes demo_site/assets/digits from the handwritten digits that scikit-learn ships (`pip install scikit-learn` first).

    python tools/make_digits.py

1,797 scans of 8x8 pixels, values 0 to 16, from the UCI Machine Learning Repository. 360 of them, the same share of
every digit, are held out by a fixed seed; the indices are part of the asset, so that every page, test and table means
the same 360. Two files with the same content: digits.npz for Python and digits.bin for pages without Python.

digits.bin, little-endian: 4 bytes "DIG1", u16 images, u16 rows, u16 columns, u16 held out; pixels (u8, image after
image); labels (u8); held-out indices (u16, ascending).
"""

import struct
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).resolve().parent.parent / "demo_site" / "assets" / "digits"
HELD_OUT = 360
SEED = 20


def main() -> None:
    """Writes both files."""
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    assert np.array_equal(images, digits.images) and images.max() == 16
    _, held_out = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, random_state=SEED, stratify=labels)
    held_out = np.sort(held_out).astype("<u2")
    np.savez_compressed(FOLDER / "digits.npz", images=images, labels=labels, held_out=held_out)
    header = struct.pack("<4s4H", b"DIG1", *images.shape, len(held_out))
    (FOLDER / "digits.bin").write_bytes(header + images.tobytes() + labels.tobytes() + held_out.tobytes())
    for path in sorted(FOLDER.glob("digits.*")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
