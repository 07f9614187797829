-- Change the record of a job if its state allows it, and tell whoever waits.
-- KEYS: the record, its events, the totals, the webhooks to send. ARGV: the allowed states, seconds to keep it from now on
-- (0: unchanged), the field of the totals to count in ("" for none), the job whose webhook is due ("" for none), then
-- field, value, ... Returns 'moved', or the state that forbids it.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or not string.find(ARGV[1], status, 1, true) then return status end
local fields, event = {}, {}
for i = 5, #ARGV do fields[i - 4] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
for _, name in ipairs({'status', 'progress'}) do
  event[#event + 1] = name
  event[#event + 1] = redis.call('HGET', KEYS[1], name)
end
redis.call('XADD', KEYS[2], 'MAXLEN', '64', '*', unpack(event))
if ARGV[2] ~= '0' then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
if ARGV[3] ~= '' then redis.call('HINCRBY', KEYS[3], ARGV[3], 1) end
if ARGV[4] ~= '' then redis.call('ZADD', KEYS[4], redis.call('TIME')[1], ARGV[4]) end
return 'moved'
