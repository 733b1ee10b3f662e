"""What one client that helps the server of `bfv` or `ckks` gives away: everybody's vectors, since all hold one key.

This is the claim's limit (`protocols.homomorphic.protocol`), carried out. No honest party has a use for it.
"""

from __future__ import annotations

import numpy as np

from protocols.homomorphic.ciphertexts import Adder, KeyHolder, NotASum
from protocols.homomorphic.client import HomomorphicClient
from protocols.homomorphic.parameters import Parameters, Scheme, choose
from protocols.packing import Integers, Layout, Words, unpack
from protocols.roles import ClientRole
from protocols.session import SessionPlan


def open_upload(scheme: Scheme, plan: SessionPlan, upload: bytes, helper: ClientRole) -> dict[str, Integers]:
    """Decrypt the ciphertexts that one client submitted.

    Args:
        scheme: The session's.
        plan: The session's plan.
        upload: The ciphertexts of all vectors end to end, as the server received them.
        helper: Role of any client that has submitted and not revealed.

    Returns:
        For every name of the plan the client's entries, (length,).

    Raises:
        ValueError: If the helper does not hold the session's key now, or the upload does not open under it.
    """
    holder = helper._holder if isinstance(helper, HomomorphicClient) else None
    if holder is None:
        raise ValueError(f"helper={helper!r} must hold the session's key, as a client does between submit and reveal")
    choice = choose(scheme, plan)
    adder, start = Adder(choice.parameters), 0
    opened = {}
    for spec, layout in zip(plan.vectors, choice.layouts, strict=True):
        stop = start + choice.parameters.ring.upload_bytes * choice.parameters.ciphertexts(layout.words(spec.length))
        words = _words(holder, adder, choice.parameters, layout, upload[start:stop])
        opened[spec.name] = unpack(words[: layout.words(spec.length)], layout, spec.length)
        start = stop
    return opened


def _words(holder: KeyHolder, adder: Adder, parameters: Parameters, layout: Layout, content: bytes) -> Words:
    size = parameters.ring.upload_bytes
    ciphertexts = (content[at : at + size] for at in range(0, len(content), size))
    try:
        opened = [holder.open_loaded(adder.load(each), shift=layout.shift()) for each in ciphertexts]
    except NotASum:
        raise ValueError("upload must be encrypted under the helper's key") from None
    return np.concatenate(opened)
