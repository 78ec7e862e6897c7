"""Bytes to text, and the checksums of other tools."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import ScriptError
from ledger.scripts.source import checksum_matches, read_source


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff")), st.booleans())
def test_line_ends_and_bom_do_not_count(text: str, bom: bool) -> None:
    """LF, CRLF and CR, with and without a BOM: one text, one checksum, that of the LF text."""
    for end in ("\n", "\r\n", "\r"):
        data = (b"\xef\xbb\xbf" if bom else b"") + text.replace("\n", end).encode()
        source = read_source(data, file="f.sql")
        assert source.text == text
        assert source.checksum == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"SELECT 1;\nSELECT '\0';", 2, "NUL"),
        (b"SELECT 1;\r\n\r\nSELECT '\xff';", 3, "not UTF-8: byte 0xff"),
        ("SELECT 1;".encode("utf-16"), 1, "UTF-16"),
        ("SELECT 1;".encode("utf-16-le"), 1, "UTF-16"),
    ],
)
def test_what_is_not_text_is_refused_with_its_line(data: bytes, line: int, message: str) -> None:
    """NUL, invalid UTF-8 and UTF-16 never reach a database."""
    with pytest.raises(ScriptError, match=message) as caught:
        read_source(data, file="f.sql")
    assert (caught.value.file, caught.value.line) == ("f.sql", line)
    assert caught.value.hint


def test_checksums_of_other_tools_are_accepted() -> None:
    """MD5 and SHA-256, over the bytes, the normalised bytes or the bound text, told by length."""
    data, normal, bound = b"\xef\xbb\xbfa {prefix}\r\n", b"a {prefix}\n", "a wp_\n"
    for algorithm in ("md5", "sha256"):
        for content in (data, normal, bound.encode()):
            digest = hashlib.new(algorithm, content).hexdigest()
            for written in (digest, digest.upper(), f"{algorithm}:{digest}"):
                assert checksum_matches(written, data, text=bound)
        assert not checksum_matches(digest, data)
        assert not checksum_matches(f"crc:{digest}", data, text=bound)
    assert not checksum_matches("", data)
    assert not checksum_matches("12345678", data)


DUMP = b"-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB\n/*!40101 SET NAMES utf8mb4 */;\n"


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (DUMP + b"INSERT INTO `a` VALUES (1,'\xff\xd8');\n", "--hex-blob"),
        (b"INSERT INTO `a` VALUES (1,_binary '\xff\xd8');\n", "--hex-blob"),
        (b"/*M!999999\\- enable the sandbox mode */\nSELECT '\xff';\n", "--hex-blob"),
        (DUMP.replace(b"utf8mb4", b"latin1") + b"INSERT INTO a VALUES ('\xe9');\n", "--default-character-set=utf8mb4"),
        (DUMP.replace(b"utf8mb4", b"latin1") + b"INSERT INTO a VALUES (_binary '\xe9');\n", "--hex-blob"),
        (DUMP.decode().encode("utf-16"), "--result-file"),
        (DUMP.decode().encode("utf-16-be"), "--result-file"),
        (b"INSERT INTO a VALUES ('\xe9');\n", "Save it as UTF-8"),
    ],
)  # fmt: skip
def test_a_dump_that_is_no_text_is_taken_anew(data: bytes, hint: str) -> None:
    """Saving the bytes of its columns as UTF-8 would corrupt them."""
    with pytest.raises(ScriptError) as caught:
        read_source(data, file="f.sql")
    assert hint in caught.value.hint
