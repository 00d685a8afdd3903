"""Who may log in to a studio: names with hashed passwords, in a JSON file.

A password is hashed with scrypt (RFC 7914) and a salt of its own; what a guess costs (N = 2^14, r = 8, p = 1: 16 MiB
and some 50 ms) is written beside each hash, so that it can be raised later without shutting anybody out.
"""

import base64
import hashlib
import hmac
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lorastyle import files
from lorastyle.errors import BadFile, BadInput
from lorastyle.workspace.names import user_name

LEAST_CHARACTERS = 10
_MOST_CHARACTERS = 1024
_COST = {"n": 2**14, "r": 8, "p": 1}
_DEAREST = {"n": 2**20, "r": 32, "p": 16}  # a file that asks for more would stop the server
_DIGEST = 32
_one_at_a_time = threading.Semaphore(2)  # so that a flood of logins cannot take all memory


@dataclass(frozen=True)
class _Password:
    salt: bytes
    hash: bytes
    n: int
    r: int
    p: int

    @classmethod
    def of(cls, password: str) -> "_Password":
        salt = os.urandom(16)
        return cls(salt, _scrypt(password, salt, **_COST), **_COST)

    def fits(self, password: str) -> bool:
        return hmac.compare_digest(self.hash, _scrypt(password, self.salt, self.n, self.r, self.p))


class Users:
    """The people of a studio. `check` takes as long for a name that is not there as for one that is."""

    def __init__(self, passwords: dict[str, _Password]) -> None:
        self._passwords = passwords
        self._nobody = _Password.of(base64.b64encode(os.urandom(24)).decode())

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """The users in an auth file; raises BadFile where it cannot be read or names nobody."""
        table = files.read_json(path)
        users = table.get("users") if isinstance(table, dict) else None
        if not isinstance(users, dict) or not users:
            do = "add somebody with: lorastyle user add NAME --auth-file FILE"
            raise BadFile(str(path), "names nobody who may log in", do)
        return cls({user_name(name): _stored(str(path), name, entry) for name, entry in users.items()})

    @property
    def names(self) -> list[str]:
        return sorted(self._passwords)

    def check(self, name: str, password: str) -> bool:
        """Whether `password` is that of the user `name`."""
        known = self._passwords.get(name)
        with _one_at_a_time:
            fits = (known or self._nobody).fits(password[:_MOST_CHARACTERS])
        return fits and known is not None and len(password) <= _MOST_CHARACTERS

    @classmethod
    def add(cls, path: Path | str, name: str, password: str) -> bool:
        """Add a user to an auth file, or give one who is there a new password; returns whether the user is new.

        Raises BadInput for a name or password that cannot be used, BadFile for a file that is none.
        """
        name = user_name(name)
        if not LEAST_CHARACTERS <= len(password) <= _MOST_CHARACTERS:
            what = f"it has {len(password)} characters"
            raise BadInput("password", what, f"choose one with {LEAST_CHARACTERS} to {_MOST_CHARACTERS}")
        users = dict(cls.from_file(path)._passwords) if Path(path).exists() else {}
        new = name not in users
        users[name] = _Password.of(password)
        table = {"users": {name: _entry(users[name]) for name in sorted(users)}}
        with files.new_file(path, mode=0o600) as file:
            file.write(f"{json.dumps(table, indent=2)}\n".encode())
        return new


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    memory = 128 * r * (n + p + 2)
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=2 * memory, dklen=_DIGEST)


def _entry(password: _Password) -> dict[str, object]:
    salt, digest = (base64.b64encode(data).decode() for data in (password.salt, password.hash))
    return {"scrypt": {"n": password.n, "r": password.r, "p": password.p}, "salt": salt, "hash": digest}


def _stored(where: str, name: str, entry: object) -> _Password:
    try:
        cost = entry["scrypt"]  # type: ignore[index]
        salt, digest = (base64.b64decode(entry[part], validate=True) for part in ("salt", "hash"))  # type: ignore[index]
        if not all(type(cost[part]) is int and 1 <= cost[part] <= most for part, most in _DEAREST.items()):
            raise ValueError("its cost is out of range")
        if cost["n"] & (cost["n"] - 1) or cost["n"] < 2 or len(digest) != _DIGEST:
            raise ValueError("its hash is not one of scrypt")
        return _Password(salt, digest, cost["n"], cost["r"], cost["p"])
    except (TypeError, KeyError, ValueError) as error:
        raise BadFile(where, f"what it says of {name} is damaged ({error})", "give them a new password") from error
