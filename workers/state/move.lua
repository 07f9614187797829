-- Change the record of a job if its state allows it, and tell whoever waits.
-- KEYS: the record, its events, its lease, the totals, the open jobs, the webhooks to send, the ends of all jobs.
-- ARGV: the job's id, the allowed states, the placement it must be of ("" for any), seconds to keep it from now on (0:
-- unchanged), the field of the totals to count in if this ends it ("" if not), who holds it from now on ("" for nobody)
-- and for how many milliseconds, the job whose webhook is due ("" for none), then field, value, ...
-- Returns 'moved', or the state that forbids it. An end that stands already, told again because the answer was lost, is
-- 'moved' too, and nothing is changed.
local status, placement = unpack(redis.call('HMGET', KEYS[1], 'status', 'placement'))
if not status or (ARGV[3] ~= '' and (placement or '1') ~= ARGV[3]) then return status end
local stands = ARGV[5] ~= ''
for i = 9, #ARGV, 2 do
  stands = stands and (ARGV[i] == 'ended' or redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1])
end
if stands then return 'moved' end
if not string.find(ARGV[2], status, 1, true) then return status end
local fields, event = {}, {}
for i = 9, #ARGV do fields[i - 8] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
for _, name in ipairs({'status', 'progress'}) do
  event[#event + 1] = name
  event[#event + 1] = redis.call('HGET', KEYS[1], name)
end
redis.call('XADD', KEYS[2], 'MAXLEN', '64', '*', unpack(event))
if ARGV[4] ~= '0' then
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  redis.call('ZADD', KEYS[7], redis.call('TIME')[1] + ARGV[4], ARGV[1])
end
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[3], ARGV[6], 'PX', ARGV[7])
elseif event[2] ~= 'running' then
  redis.call('DEL', KEYS[3])
end
if ARGV[5] ~= '' then
  redis.call('HINCRBY', KEYS[4], ARGV[5], 1)
  redis.call('ZREM', KEYS[5], ARGV[1])
end
if ARGV[8] ~= '' then redis.call('ZADD', KEYS[6], redis.call('TIME')[1], ARGV[8]) end
return 'moved'
