"""Digests of folders: every file, and what only looks like one."""

import os
from pathlib import Path

from flows.storage.digests import NO_FILE, file_changes, file_digests


def test_what_is_no_file_is_named_as_added_and_never_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights").write_bytes(b"1")
    then = file_digests(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "zeros").symlink_to("/dev/zero")
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    now = file_digests(tmp_path)
    assert file_changes(then, now).added == ("gone", "loop", "pipe", "zeros")
    assert {now[name] for name in ("gone", "loop", "pipe", "zeros")} == {NO_FILE}


def test_a_link_to_a_file_has_the_digest_of_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to("a")
    assert len(set(file_digests(tmp_path).values())) == 1
