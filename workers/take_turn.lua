-- A token bucket that refills by itself. KEYS: the bucket. ARGV: tokens per second, most tokens, tokens to take, and '1'
-- to take them even if there are too few: then it owes some, and the next one waits the longer.
-- Returns the milliseconds until so many are there; 0: they have been taken.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local rate, most, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local since = math.max(0, now - (tonumber(kept[2]) or now))
local tokens = math.min(most, (tonumber(kept[1]) or most) + since * rate)
local missing = ARGV[4] == '1' and 0 or math.max(0, cost - tokens)
if missing == 0 then tokens = tokens - cost end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], math.ceil((most - math.min(tokens, 0)) / rate) + 1)
return math.ceil(missing / rate * 1000)
