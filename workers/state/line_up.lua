-- Move an entry that was just put at the end of the queue to its owner's fair place: owners take turns.
-- KEYS: the queue (a list), the rounds of its entries (a sorted set), the next round of each owner (a hash).
-- ARGV: the entry, its owner, seconds to keep the keys.
--
-- In each round every owner has one entry, so one who sends a thousand waits for the others' turns a thousand times. The
-- queue is in the order of rounds; a round begins with the entries of owners of whom nothing else waited and who
-- have had no turn in it yet: they wait for nothing but what is being done. In both halves the order is that of arrival. Fractions keep it.
-- Rounds of entries that have left the queue are forgotten when the head has passed them. Entries that were put at the
-- front have no round.
local queue, rounds, owners = KEYS[1], KEYS[2], KEYS[3]
local entry, owner = ARGV[1], ARGV[2]
local TURN = 1 / 1048576

if redis.call('LINDEX', queue, -1) ~= entry then return 0 end
redis.call('RPOP', queue)

local now = nil
for _, waiting in ipairs(redis.call('LRANGE', queue, 0, 15)) do
  local score = redis.call('ZSCORE', rounds, waiting)
  if score then
    now = math.floor(tonumber(score))
    redis.call('ZREMRANGEBYSCORE', rounds, '-inf', '(' .. score)
    break
  end
end
if not now then
  redis.call('DEL', rounds, owners)
  now = 0
end

local round = math.max(now, tonumber(redis.call('HGET', owners, owner) or 0))
local half = round == now and round or round + 0.5
local last = redis.call('ZREVRANGEBYSCORE', rounds, '(' .. (half + 0.5), half, 'WITHSCORES', 'LIMIT', 0, 1)
local score = last[2] and tonumber(last[2]) + TURN or half

local placed = -1
while placed < 0 do
  local behind = redis.call('ZRANGEBYSCORE', rounds, half + 0.5, '+inf', 'LIMIT', 0, 1)[1]
  if not behind then
    placed = redis.call('RPUSH', queue, entry)
  else
    placed = redis.call('LINSERT', queue, 'BEFORE', behind, entry)
    if placed < 0 then redis.call('ZREM', rounds, behind) end
  end
end
redis.call('ZADD', rounds, string.format('%.17g', score), entry)
redis.call('HSET', owners, owner, round + 1)
redis.call('EXPIRE', rounds, ARGV[3])
redis.call('EXPIRE', owners, ARGV[3])
return placed
