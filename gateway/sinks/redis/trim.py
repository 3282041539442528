"""Trimming a stream without a loss: only what every consumer group has handled goes.

XTRIM with a length, or by age alone, also removes entries that a group has read and not yet
acknowledged, or not read at all: they are gone in silence. So the bound is taken in Redis itself,
in one step with the trimming: the oldest entry that is pending in any group, or else the last one
delivered, the least of all groups. A stream that no group reads is not trimmed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from gateway.sinks.redis.client import RedisClient

SCRIPT: Final = """
local function less(a, b)
  local am, as = string.match(a, '^(%d+)-(%d+)$')
  local bm, bs = string.match(b, '^(%d+)-(%d+)$')
  if #am ~= #bm then return #am < #bm end
  if am ~= bm then return am < bm end
  if #as ~= #bs then return #as < #bs end
  return as < bs
end
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0, 0, 0} end
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
local low, most = nil, 0
for _, listed in ipairs(groups) do
  local group = {}
  for i = 1, #listed, 2 do group[listed[i]] = listed[i + 1] end
  local id = group['last-delivered-id']
  if group['pending'] > 0 then
    local pending = redis.call('XPENDING', KEYS[1], group['name'])
    if pending[2] and less(pending[2], id) then id = pending[2] end
  end
  if low == nil or less(id, low) then low = id end
  if group['pending'] > most then most = group['pending'] end
end
local removed = 0
if low ~= nil then
  local keep_ms = tonumber(ARGV[1])
  if keep_ms > 0 then
    local now = redis.call('TIME')
    local old = string.format('%.0f-0', math.max(0, tonumber(now[1]) * 1000 - keep_ms))
    if less(old, low) then low = old end
  end
  removed = redis.call('XTRIM', KEYS[1], 'MINID', low)
end
return {removed, redis.call('XLEN', KEYS[1]), #groups, most}
"""


class Trimmed(NamedTuple):
    """What a look at a stream found."""

    removed: int
    length: int
    groups: int
    pending: int
    """Most that one group has read and not acknowledged."""


def trim(client: RedisClient, stream: str, keep_s: float) -> Trimmed:
    """Remove what all groups have handled and what is older than ``keep_s``.

    The entry that was handled last stays. Refusal or SinkUnavailable.
    """
    answer: Any = client.call("EVAL", SCRIPT, 1, stream, round(keep_s * 1000))
    return Trimmed(*map(int, answer))
