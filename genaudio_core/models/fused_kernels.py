# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""The kernels of `fused.py`; importing this needs Triton. Names: see there."""

import triton
import triton.language as tl


@triton.jit
def gru_forward(
    given, state, weight, bias, hidden, kept, frames: tl.constexpr, rows, width: tl.constexpr, block: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0) * block + tl.arange(0, block)
    col = tl.arange(0, width)
    live = row[:, None] < rows
    turned = col[None, :] * width + col[:, None]  # the weights, transposed
    reset_w = tl.load(weight + turned)
    update_w = tl.load(weight + width * width + turned)
    candidate_w = tl.load(weight + 2 * width * width + turned)
    reset_b = tl.load(bias + col)[None, :].to(tl.float32)
    update_b = tl.load(bias + width + col)[None, :].to(tl.float32)
    candidate_b = tl.load(bias + 2 * width + col)[None, :].to(tl.float32)
    one = row[:, None] * width + col[None, :]
    three = row[:, None] * (3 * width) + col[None, :]
    four = row[:, None] * (4 * width) + col[None, :]
    h = tl.load(state + one, mask=live, other=0.0).to(tl.float32)
    # What the next frame is given is on its way while this one is computed.
    reset_x = tl.load(given + three, mask=live, other=0.0)
    update_x = tl.load(given + three + width, mask=live, other=0.0)
    candidate_x = tl.load(given + three + 2 * width, mask=live, other=0.0)
    for t in range(frames):
        given += rows * (3 * width)
        hidden += rows * width
        more = live & (t + 1 < frames)
        next_reset = tl.load(given + three, mask=more, other=0.0)
        next_update = tl.load(given + three + width, mask=more, other=0.0)
        next_candidate = tl.load(given + three + 2 * width, mask=more, other=0.0)
        half = h.to(weight.dtype.element_ty)
        reset = tl.sigmoid(reset_x.to(tl.float32) + tl.dot(half, reset_w) + reset_b)
        update = tl.sigmoid(update_x.to(tl.float32) + tl.dot(half, update_w) + update_b)
        share = tl.dot(half, candidate_w) + candidate_b
        candidate = 2 * tl.sigmoid(2 * (candidate_x.to(tl.float32) + reset * share)) - 1  # tanh
        h = candidate + update * (h - candidate)
        tl.store(hidden + one, h.to(hidden.dtype.element_ty), mask=live)
        tl.store(kept + four, reset.to(kept.dtype.element_ty), mask=live)
        tl.store(kept + four + width, update.to(kept.dtype.element_ty), mask=live)
        tl.store(kept + four + 2 * width, candidate.to(kept.dtype.element_ty), mask=live)
        tl.store(kept + four + 3 * width, share.to(kept.dtype.element_ty), mask=live)
        kept += rows * (4 * width)
        reset_x, update_x, candidate_x = next_reset, next_update, next_candidate


@triton.jit
def gru_backward(
    grad, weight, hidden, kept, back, first, frames: tl.constexpr, rows, width: tl.constexpr, block: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0) * block + tl.arange(0, block)
    col = tl.arange(0, width)
    live = row[:, None] < rows
    straight = col[:, None] * width + col[None, :]
    reset_w = tl.load(weight + straight)
    update_w = tl.load(weight + width * width + straight)
    candidate_w = tl.load(weight + 2 * width * width + straight)
    one = row[:, None] * width + col[None, :]
    four = row[:, None] * (4 * width) + col[None, :]
    last = (frames - 1) * tl.cast(rows, tl.int64)
    grad += last * width
    hidden += last * width  # the state before each frame
    kept += last * (4 * width)
    back += last * (4 * width)
    carry = tl.zeros([block, width], tl.float32)
    for _ in range(frames):
        reset = tl.load(kept + four, mask=live, other=0.0).to(tl.float32)
        update = tl.load(kept + four + width, mask=live, other=0.0).to(tl.float32)
        candidate = tl.load(kept + four + 2 * width, mask=live, other=0.0).to(tl.float32)
        share = tl.load(kept + four + 3 * width, mask=live, other=0.0).to(tl.float32)
        before = tl.load(hidden + one, mask=live, other=0.0).to(tl.float32)
        carry += tl.load(grad + one, mask=live, other=0.0).to(tl.float32)
        to_update = (carry * (before - candidate) * update * (1 - update)).to(weight.dtype.element_ty)
        to_candidate = carry * (1 - update) * (1 - candidate * candidate)
        to_reset = (to_candidate * share * reset * (1 - reset)).to(weight.dtype.element_ty)
        to_share = (to_candidate * reset).to(weight.dtype.element_ty)
        carry = carry * update
        carry = tl.dot(to_reset, reset_w, carry)
        carry = tl.dot(to_update, update_w, carry)
        carry = tl.dot(to_share, candidate_w, carry)
        tl.store(back + four, to_reset, mask=live)
        tl.store(back + four + width, to_update, mask=live)
        tl.store(back + four + 2 * width, to_candidate.to(back.dtype.element_ty), mask=live)
        tl.store(back + four + 3 * width, to_share, mask=live)
        grad -= rows * width
        hidden -= rows * width
        kept -= rows * (4 * width)
        back -= rows * (4 * width)
    tl.store(first + one, carry, mask=live)


@triton.jit
def weigh(parts, places, width: tl.constexpr, depth: tl.constexpr, tile: tl.constexpr):
    """One head of one frame, which `parts` points to: where its places lie, query, key, value, and their weights."""
    place = tl.arange(0, tile)
    live = place[:, None] < places
    at = place[:, None] * (3 * width) + tl.arange(0, depth)[None, :]
    query = tl.load(parts + at, mask=live, other=0.0)
    key = tl.load(parts + at + width, mask=live, other=0.0)
    value = tl.load(parts + at + 2 * width, mask=live, other=0.0)
    scores = tl.dot(query, tl.trans(key)) * (depth**-0.5)
    scores = tl.where(place[None, :] < places, scores, -1e30)
    scores = tl.exp(scores - tl.max(scores, 1)[:, None])
    return at, live, query, key, value, scores / tl.sum(scores, 1)[:, None]


@triton.jit
def attention_forward(
    parts, out, places, heads: tl.constexpr, depth: tl.constexpr, tile: tl.constexpr
):  # fmt: skip
    frame = (tl.program_id(0) // heads).to(tl.int64)
    head = tl.program_id(0) % heads
    width: tl.constexpr = heads * depth
    parts += frame * places * (3 * width) + head * depth
    _, live, _, _, value, weights = weigh(parts, places, width, depth, tile)
    found = tl.dot(weights.to(parts.dtype.element_ty), value)
    out += frame * places * width + head * depth
    to = tl.arange(0, tile)[:, None] * width + tl.arange(0, depth)[None, :]
    tl.store(out + to, found.to(out.dtype.element_ty), mask=live)


@triton.jit
def attention_backward(
    parts, grad, back, places, heads: tl.constexpr, depth: tl.constexpr, tile: tl.constexpr
):  # fmt: skip
    frame = (tl.program_id(0) // heads).to(tl.int64)
    head = tl.program_id(0) % heads
    width: tl.constexpr = heads * depth
    parts += frame * places * (3 * width) + head * depth
    back += frame * places * (3 * width) + head * depth
    grad += frame * places * width + head * depth
    at, live, query, key, value, weights = weigh(parts, places, width, depth, tile)
    given = tl.load(grad + tl.arange(0, tile)[:, None] * width + tl.arange(0, depth)[None, :], mask=live, other=0.0)
    # Rows past the last place were given nothing and give nothing: `given` is zero there.
    to_value = tl.dot(tl.trans(weights.to(parts.dtype.element_ty)), given)
    to_weights = tl.dot(given, tl.trans(value))
    to_scores = weights * (to_weights - tl.sum(weights * to_weights, 1)[:, None]) * (depth**-0.5)
    to_scores = to_scores.to(parts.dtype.element_ty)
    to_query = tl.dot(to_scores, key)
    to_key = tl.dot(tl.trans(to_scores), query)
    tl.store(back + at, to_query.to(back.dtype.element_ty), mask=live)
    tl.store(back + at + width, to_key.to(back.dtype.element_ty), mask=live)
    tl.store(back + at + 2 * width, to_value.to(back.dtype.element_ty), mask=live)
