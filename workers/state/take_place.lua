-- A place among an owner's jobs that have not ended. KEYS: the set of them.
-- ARGV: the most, the prefix of records, now, seconds to keep the set, the job, or "" to ask only.
-- The set is only looked through when it is full: jobs that have ended leave it then. A job without a record has
-- either just taken its place and is about to be written, or is gone. Returns 1 if there is a place.
local most, now = tonumber(ARGV[1]), tonumber(ARGV[3])
if redis.call('ZCARD', KEYS[1]) >= most then
  local jobs = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for i = 1, #jobs, 2 do
    local status = redis.call('HGET', ARGV[2] .. jobs[i], 'status')
    local lives = status == 'queued' or status == 'running'
    if not lives and (status or tonumber(jobs[i + 1]) < now - 60) then redis.call('ZREM', KEYS[1], jobs[i]) end
  end
  if redis.call('ZCARD', KEYS[1]) >= most then return 0 end
end
if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[1], now, ARGV[5])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return 1
