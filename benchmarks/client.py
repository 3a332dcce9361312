"""The client side of the serving benchmark, in a process of its own so that it shares no loop.

Reads one JSON document per line: `{"address": …, "bodies": [completion request, …]}`; sends all
requests at once and answers with one line: per request the seconds from sending to every chunk
of text.
Raw HTTP over asyncio's streams: a client library would cost more than what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit


async def time_chunks(address: str, body: dict[str, Any]) -> list[float]:
    """Seconds from sending the request to each chunk that carries text."""
    url = urlsplit(address)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    content = json.dumps({**body, "stream": True}).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    begun = time.perf_counter()
    writer.write(head.encode() + content)
    times = []
    try:
        async for line in reader:
            if b'"text":"' in line and b'"text":""' not in line:
                times.append(time.perf_counter() - begun)
            elif b'"error"' in line:
                raise RuntimeError(line.decode())
    finally:
        writer.close()
    return times


async def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        runs = [time_chunks(job["address"], body) for body in job["bodies"]]
        print(json.dumps(await asyncio.gather(*runs)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
