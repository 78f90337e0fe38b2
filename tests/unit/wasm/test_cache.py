"""The cache of compiled modules: hits, damage, folders that are not private."""

import pytest
from tideflow.wasm import cache

wasmtime = pytest.importorskip("wasmtime", reason="no wasmtime")


class Counting:
    """wasmtime, counting the modules that it compiles."""

    WasmtimeError = wasmtime.WasmtimeError

    def __init__(self):
        self.compiled = 0
        outer = self

        class Module(wasmtime.Module):
            def __init__(self, engine, code):
                outer.compiled += 1
                super().__init__(engine, code)

        self.Module = Module


@pytest.fixture
def code(monkeypatch, tmp_path):
    monkeypatch.setenv("TIDEFLOW_CACHE", str(tmp_path / "cache"))
    body = "(i32.const 1) (drop) " * 2000
    return bytes(wasmtime.wat2wasm(f'(module (func (export "run") (result i32) {body} (i32.const 7)))'))


def answer(engine, module):
    store = wasmtime.Store(engine)
    return wasmtime.Instance(store, module, []).exports(store)["run"](store)


def test_a_module_is_compiled_once(code, tmp_path):
    engine, counting = wasmtime.Engine(), Counting()
    for _ in range(3):
        assert answer(engine, cache.compile_module(counting, engine, code, "a")) == 7
    assert counting.compiled == 1
    cache.compile_module(counting, engine, code, "b")           # other settings make other code
    assert counting.compiled == 2
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_damaged_entries_are_made_again(code, tmp_path):
    engine, counting = wasmtime.Engine(), Counting()
    cache.compile_module(counting, engine, code, "a")
    entry = next((tmp_path / "cache").iterdir())
    entry.write_bytes(entry.read_bytes()[:100])
    assert answer(engine, cache.compile_module(counting, engine, code, "a")) == 7
    assert counting.compiled == 2


def test_a_folder_that_others_may_write_is_not_used(code, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    engine, counting = wasmtime.Engine(), Counting()
    for _ in range(2):
        cache.compile_module(counting, engine, code, "a")
    assert counting.compiled == 2 and not list((tmp_path / "cache").iterdir())


def test_it_can_be_switched_off(code, monkeypatch):
    monkeypatch.setenv("TIDEFLOW_CACHE", "off")
    engine, counting = wasmtime.Engine(), Counting()
    for _ in range(2):
        cache.compile_module(counting, engine, code, "a")
    assert counting.compiled == 2 and cache.cache_folder() is None


def test_old_entries_go(code, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MOST_FILES", 2)
    engine = wasmtime.Engine()
    for settings in "abcd":
        cache.compile_module(wasmtime, engine, code, settings)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_small_modules_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEFLOW_CACHE", str(tmp_path / "cache"))
    cache.compile_module(wasmtime, wasmtime.Engine(), bytes(wasmtime.wat2wasm("(module)")), "a")
    assert not (tmp_path / "cache").exists()
