"""Tokens of the API: who may ask on TCP, in a file that has only their hashes.

A line of the file is ``NAME ROLE sha256:HEX CREATED EXPIRES``, times as dates or ``never``. A token
has 256 random bits, so that a plain SHA-256 of it cannot be turned back; nobody can guess one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

from gateway.errors import GatewayError

log = logging.getLogger("gateway.api")

Role: TypeAlias = Literal["viewer", "operator", "ingest"]
"""A viewer looks, an operator may change something, too; ``ingest`` only sends rows."""
ROLES: tuple[Role, ...] = get_args(Role)

PREFIX = "egw_"
"""By which a token that got into a log, a chat or a repository is known as one."""

TOKEN_BYTES = 32
MAX_TOKENS = 200
MAX_FILE_BYTES = 65536
LOOK_S = 1.0
"""The file is looked at again at most this often, and read again where it has changed."""

HEADER = "# Tokens of the gateway's API, as hashes. Change it with `gateway token`.\n"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_MODE_REFUSED = stat.S_IRWXO | stat.S_IWGRP


class Token(NamedTuple):
    """One token as the file knows it; ``expires`` is the last day (UTC) on which it is good."""

    name: str
    role: Role
    digest: bytes
    created: date
    expires: date | None

    def is_good(self, today: date) -> bool:
        """Whether it has not expired."""
        return self.expires is None or today <= self.expires


def new_token() -> str:
    """A token that nobody has yet."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def digest_of(token: str) -> bytes:
    """What the file keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def name_fault(name: str) -> str | None:
    """What is wrong with the name of a token; None where nothing is."""
    if _NAME.fullmatch(name):
        return None
    return f"'{name}' is no name; expected letters, digits and . _ @ -, at most 64"


def today() -> date:
    """The day by which tokens expire."""
    return datetime.now(UTC).date()


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file, of a missing one none.

    Raises:
        GatewayError: it cannot be read, others may read or change it, or a line is wrong.
    """
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise GatewayError(f"{path}: not a file")
            if about.st_mode & _MODE_REFUSED:
                mode = stat.S_IMODE(about.st_mode)
                raise GatewayError(
                    f"{path}: others may read or change it (mode {mode:04o}); "
                    f"run `chmod o-rwx,g-w {path}`"
                )
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise GatewayError(
            f"{path}: {error.strerror}; expected a file of `gateway token`"
        ) from error
    if len(raw) > MAX_FILE_BYTES:
        raise GatewayError(f"{path}: too large; expected a file of `gateway token`")
    return tuple(_parsed(path, raw))


def _parsed(path: Path, raw: bytes) -> Iterator[Token]:
    try:
        lines = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise GatewayError(f"{path}: not UTF-8 text; expected a file of `gateway token`") from error
    names: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = [(m.start() + 1, m.group()) for m in re.finditer(r"\S+", line)]
        try:
            token = _token(words)
            if token.name in names:
                raise _WrongWordError(0, f"'{token.name}' comes twice; expected another name")
        except _WrongWordError as error:
            column = words[error.at][0] if error.at < len(words) else len(line) + 1
            # never the line itself: somebody may have written a token into it
            raise GatewayError(f"{path}:{number}:{column}: {error}") from None
        names.add(token.name)
        if len(names) > MAX_TOKENS:
            raise GatewayError(f"{path}:{number}:1: more than {MAX_TOKENS} tokens")
        yield token


class _WrongWordError(Exception):
    def __init__(self, at: int, message: str) -> None:
        self.at = at
        super().__init__(message)


def _token(words: Sequence[tuple[int, str]]) -> Token:
    if len(words) != 5:
        expected = "NAME ROLE sha256:HEX CREATED EXPIRES"
        raise _WrongWordError(0, f"{len(words)} words; expected {expected}, by `gateway token add`")
    name, role, hashed, created, expires = (word for _, word in words)
    if not _NAME.fullmatch(name) or name.startswith(PREFIX):
        raise _WrongWordError(0, "not a name; expected letters, digits and . _ @ -")
    if role not in ROLES:
        raise _WrongWordError(1, f"no such role; expected {' or '.join(ROLES)}")
    found = _HASH.fullmatch(hashed)
    if not found:
        raise _WrongWordError(2, "not a hash; expected sha256: and 64 hexadecimal digits")
    return Token(
        name,
        role,
        bytes.fromhex(found[1]),
        _date(3, created),
        None if expires == "never" else _date(4, expires),
    )


def _date(at: int, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        expected = "2027-01-31" if at == 3 else "2027-01-31, or never"
        raise _WrongWordError(at, f"not a date; expected e.g. {expected}") from None


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Keep other `gateway token` commands off the file; GatewayError where its folder is not."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise GatewayError(f"{path.parent}: {error.strerror}; expected a folder") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def write_tokens(path: Path, tokens: Sequence[Token]) -> None:
    """Write the file anew, whole or not at all; GatewayError where that fails.

    Only its owner may read it. Where root writes it, owner and group stay, or are at first those of
    its folder, and the group may read it: so the service can read what root has added.
    """
    lines = [
        f"{t.name}  {t.role}  sha256:{t.digest.hex()}  {t.created}  {t.expires or 'never'}\n"
        for t in tokens
    ]
    try:
        owner = path.stat() if path.exists() else path.parent.stat()
        handle, made = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(HEADER + "".join(lines))
                file.flush()
                os.fchmod(file.fileno(), 0o600)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                    os.fchmod(file.fileno(), 0o640)
                os.fsync(file.fileno())
            Path(made).replace(path)
        except BaseException:
            Path(made).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise GatewayError(f"{path}: cannot be written: {error.strerror}") from error


class TokenFile:
    """The tokens of a file as they are now. While it cannot be used, no token counts."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], date] = today,
    ) -> None:
        """GatewayError where the file cannot be used; a missing one has no tokens yet."""
        self._path = path
        self._clock = clock
        self._today = today
        self._lock = threading.Lock()
        self._seen = self._state()
        self._tokens = read_tokens(path)
        self._looked = clock()
        self.error = ""
        """Why no token counts now; empty where they do."""

    def find(self, presented: str) -> Token | None:
        """The token that was presented, where there is one and it is good.

        All are compared, each in constant time: how long it takes tells nothing.
        """
        digest = digest_of(presented)
        found = None
        for token in self._current():
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found if found is not None and found.is_good(self._today()) else None

    def still(self, known: Token) -> Token | None:
        """A token that was presented earlier, as the file has it now; None where it is revoked."""
        for token in self._current():
            if token.name == known.name and hmac.compare_digest(token.digest, known.digest):
                return token if token.is_good(self._today()) else None
        return None

    def _current(self) -> tuple[Token, ...]:
        with self._lock:
            if self._clock() - self._looked >= LOOK_S:
                self._looked = self._clock()
                state = self._state()
                if state != self._seen:
                    self._seen = state
                    self._read()
            return self._tokens

    def _read(self) -> None:
        try:
            self._tokens, error = read_tokens(self._path), ""
        except GatewayError as fault:
            self._tokens, error = (), str(fault)
            log.error("the tokens cannot be read, so none is good", extra={"detail": error})
        else:
            log.info("tokens read again", extra={"count": len(self._tokens)})
        self.error = error

    def _state(self) -> tuple[int, ...] | None:
        try:
            about = self._path.stat()
        except OSError:
            return None
        # the mode and owner, too: what `chmod` mends is read again
        return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
