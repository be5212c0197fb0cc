from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from poolvox.shared.config import (
    ConfigPath,
    ConfigPattern,
    Model,
    RunConfig,
    dump_config,
    load_config,
)
from poolvox.shared.document import Place, dump_yaml, parse_value
from poolvox.shared.errors import ConfigError

Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Raw(Model):
    files: ConfigPattern
    channels: Literal["auto"] | tuple[str, ...] = "auto"
    pixel_size: Length | tuple[Length, Length] | None = None


class RawBlocks(Model):
    sbs: Raw
    phenotype: Raw | None = None


class Config(RunConfig):
    raw: RawBlocks
    library: ConfigPath | None = None
    fdr: float = 0.01
    bases: dict[str, Raw] = {}  # noqa: RUF012 (pydantic copies it)


GOOD = """\
pipeline: ops
output: screen
raw:
  sbs:
    files: raw/{well}.tif
    pixel_size: 1.3
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text: str | bytes, *overrides: str) -> Config:
        path = tmp_path / "my.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, Config, overrides=overrides)

    return load_text


@pytest.fixture
def complaint(load, tmp_path):
    def lines(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as error:
            load(text, *overrides)
        return str(error.value).replace(f"{tmp_path}/", "").splitlines()

    return lines


def test_paths_are_relative_to_the_file(load, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    config = load(GOOD + "library: ../shared/library.csv\n")
    assert config.output == tmp_path / "screen"
    assert config.library == tmp_path.parent / "shared/library.csv"
    assert config.raw.sbs.files == f"{tmp_path}/raw/{{well}}.tif"


def test_absolute_paths_stay(load):
    config = load(GOOD.replace("raw/{well}", "/data/{well}") + "library: /data/library.csv\n")
    assert config.raw.sbs.files == "/data/{well}.tif"
    assert config.library == Path("/data/library.csv")


def test_braces_of_the_folder_are_no_fields(tmp_path):
    folder = tmp_path / "{plate}"
    folder.mkdir()
    (folder / "my.yaml").write_text(GOOD)
    config = load_config(folder / "my.yaml", Config)
    assert config.raw.sbs.files == f"{tmp_path}/{{{{plate}}}}/raw/{{well}}.tif"
    assert config.output == folder / "screen"


def test_what_is_dumped_loads_to_the_same(load):
    text = GOOD + "plate: 0012\nfdr: 1e-3\nstore: {ngff: 0.4}\n"
    config = load(text)
    assert config.plate == "0012"
    assert config.fdr == 0.001
    assert config.store.ngff == "0.4"
    assert load(dump_config(config)) == config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("0012", "0012"),
        ("2026-11-21", "2026-11-21"),
        ("1e-3", 0.001),
        ("1_000", "1_000"),
        ("true", True),
        ("~", None),
        ("", None),
        ("-7", -7),
        (".5", 0.5),
        ("[1, a]", [1, "a"]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = parse_value(text, Place("here"))
    assert found == value
    assert type(found) is type(value)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@settings(max_examples=200)
@given(st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_value_comes_back_from_yaml(value):
    assert parse_value(dump_yaml({"key": value}), Place("here")) == {"key": value}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("1.3", "wide"), "my.yaml:6: raw.sbs.pixel_size: got the text 'wide', expected a number"),
        (("1.3", "-1"), "my.yaml:6: raw.sbs.pixel_size: got the number -1, expected more than 0"),
        (("1.3", "[1, x]"), "my.yaml:6: raw.sbs.pixel_size[2]: got the text 'x', expected a num"),
        (("1.3", "[1]"), "my.yaml:6: raw.sbs.pixel_size[2]: value number 2 of the list is missing"),
        (("1.3", "[1, 2, 3]"), "my.yaml:6: raw.sbs.pixel_size: got a list of 3 values"),
        (("1.3", "{y: 1}"), "my.yaml:6: raw.sbs.pixel_size: got a block with the keys y, expected"),
        (("pixel_size", "pixelsize"), "no such key; did you mean pixel_size?"),
        (("pixel_size", "zzz"), "no such key; possible are files, channels, pixel_size"),
        (("files", "file"), "my.yaml:4: raw.sbs.files: the key is missing"),
        (("  sbs:", "  sb:"), "my.yaml:4: raw.sb: there is no such key; did you mean sbs?"),
        (("output: screen", "output:"), "my.yaml:2: output: got nothing, expected a path"),
        (("output: screen", "outptu: screen"), "did you mean output?"),
        (("output: screen", "output: screen\noutput: b"), "my.yaml:3: output: the key is there tw"),
        (
            ("output: screen", "output: s\nstore: {ngff: 0.6}"),
            "got the text '0.6', expected 0.5 or",
        ),
        (
            ("output: screen", "output: s\nstore: 3"),
            "my.yaml:3: store: got the number 3, expected a",
        ),
        (("output: screen", "output: s\nengine: {workers: 1.5}"), "expected a whole number"),
        (
            ("output: screen", "output: s\nbases: {G: {fils: a}}"),
            "bases.G.fils: there is no such k",
        ),
    ],
)
def test_a_mistake_names_file_line_key_and_what_was_meant(complaint, change, said):
    assert change[0] in GOOD
    lines = complaint(GOOD.replace(*change))
    assert any(said in line for line in lines), lines


def test_all_mistakes_come_at_once_in_the_order_of_the_file(complaint):
    lines = complaint(GOOD.replace("1.3", "x").replace("screen", "screen\nfdr: much\nplat: P2"))
    assert [line.split(": ")[0] for line in lines] == ["my.yaml:3", "my.yaml:4", "my.yaml:8"]


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(60))
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}]}}\n" for n in range(60)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "my.yaml: written out, its aliases come to more than 100000 values"),
        (MERGED, "my.yaml: written out, its aliases come to more than 100000 values"),
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("- a\n- b\n", "my.yaml:1: expected lines such as `pipeline: ops`, got a list of 2 values"),
        ("a: b: c\n", "my.yaml:1: this is not YAML: expected one `key: value`"),
        ("a: " + "[" * 2000, "my.yaml: the brackets or blocks are nested too deeply"),
        ("a:\n  - " + "1" * 5000, "my.yaml:2: '1111111111111111111111111111111111111111' is no"),
        ("a:\n\tb: 1\n", "my.yaml:2: this is not YAML: there is a tab"),
        ("files: {well}_{tile}.tif\n", "in quotes"),
        ("a: 1\nb: 'x\n", "a quote is not closed"),
        ('a: "C:\\data"\n', "use single quotes"),
        ("a: *b\n", "must be in quotes"),
        ("a: &a [*a]\n", "contains itself"),
        ("a: 1\n---\nb: 1\n", "a second document"),
        ("a: !!python/object/apply:os.system [ls]\n", "my.yaml:1:"),
        (b"a: 1\nb: \xe9\n", "my.yaml:2: byte 0xe9 is not UTF-8"),
        ("{[1]: 2}\n", "a key must be plain text"),
    ],
)
def test_what_is_not_a_configuration_says_so(complaint, text, said):
    assert said in "\n".join(complaint(text))


def test_a_value_of_the_command_line_is_bounded_too():
    bomb = "[&a [x, x], " + ", ".join(f"&{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]"
                                      for n in range(24)) + "]"  # fmt: skip
    with pytest.raises(ConfigError, match="is not a value"):
        parse_value(bomb, Place("--set"))


def test_utf_16_of_other_editors_is_read(load):
    assert load(GOOD.encode("utf-16")).raw.sbs.pixel_size == 1.3
    assert load(b"\xef\xbb\xbf" + GOOD.encode()).raw.sbs.pixel_size == 1.3


def test_a_folder_and_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="there is no file"):
        load_config(tmp_path / "no.yaml", Config)
    (tmp_path / "yes.yaml").touch()
    with pytest.raises(ConfigError, match=r"is a folder.*did you mean .*yes\.yaml"):
        load_config(tmp_path, Config)


def test_merged_blocks_are_not_doubled_keys(load):
    text = GOOD.replace("sbs:", "sbs: &raw").replace("raw:\n", "raw:\n", 1)
    config = load(text + "  phenotype:\n    <<: *raw\n    pixel_size: 0.65\n")
    assert config.raw.phenotype.pixel_size == 0.65
    assert config.raw.phenotype.files == config.raw.sbs.files


def test_overrides_come_before_the_file_and_are_checked(load, complaint):
    assert load(GOOD, "raw.sbs.pixel_size=2", "fdr=0.5").raw.sbs.pixel_size == 2
    assert load(GOOD, "store.ngff=0.4").store.ngff == "0.4"
    assert complaint(GOOD, "fdr=x") == [
        "--set fdr=x: fdr: got the text 'x', expected a number",
    ]
    assert "write it as key=value" in complaint(GOOD, "fdr")[0]
    assert "is not a block" in complaint(GOOD, "output.name=3")[0]
