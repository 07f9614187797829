-- A token bucket that refills by itself. KEYS: the bucket. ARGV: tokens per second, most tokens, tokens to take, and
-- 'order', 'look' or 'owe'. What is taken by 'owe' and is not there is owed, up to a full bucket: the next order waits
-- until it is paid, and looking after jobs does not. And the name of this call: where it was the last one, only its answer
-- was lost. Returns the milliseconds until an order or look may be; 0: now.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local rate, most, cost, kind = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'owed', 'call', 'answer')
if kept[4] == ARGV[5] then return tonumber(kept[5]) end
local since = math.max(0, now - (tonumber(kept[2]) or now))
local tokens = math.min(most, (tonumber(kept[1]) or most) + since * rate)
local owed = tonumber(kept[3]) or 0
if kind == 'owe' then owed = owed + cost end
if kind ~= 'look' then
  local paid = math.min(tokens, owed)
  tokens, owed = tokens - paid, math.min(most, owed - paid)
end
local missing = 0
if kind ~= 'owe' then
  missing = math.max(0, cost + (kind == 'look' and 0 or owed) - tokens)
  if missing == 0 then tokens = tokens - cost end
end
local answer = math.ceil(missing / rate * 1000)
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now),
  'owed', string.format('%.6f', owed), 'call', ARGV[5], 'answer', answer)
redis.call('EXPIRE', KEYS[1], math.ceil((most + owed) / rate) + 1)
return answer
