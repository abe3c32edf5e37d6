"""A gateway's recording alone, for tests that kill it: writes statements and says which are committed."""

from __future__ import annotations

import asyncio
import os
import sys

from gatekeeper.recording.store import open_store

from .samples import closed, login, opened


async def main(path: str, session: str) -> None:
    store = open_store(path)
    loop = asyncio.get_running_loop()
    committed = loop.create_future()
    store.submit([login(session)], committed.set_result)
    await committed
    n = 0
    while True:
        n += 1
        committed = loop.create_future()
        store.submit([opened(n, f"insert into t values ({n})", session)], committed.set_result)
        error = await committed
        if error is None:
            os.write(1, b"%d\n" % n)  # to the kernel: it survives the kill, as what the database got would
        if n % 3:
            store.submit([closed(n, session)])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
