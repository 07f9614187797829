-- Renew the lease of a running job, tell how far it is, and learn whether there is any point in going on.
-- KEYS: the record, its events, its lease. ARGV: the placement that is being performed, who holds it and for how many
-- milliseconds more, the fraction done ("" if there is no news), what that worker's clock says. Returns 'running', or why to stop.
local status, placement, seen = unpack(redis.call('HMGET', KEYS[1], 'status', 'placement', 'seen'))
if not status then return 'gone' end
if status ~= 'running' then return status end
if (placement or '1') ~= ARGV[1] then return 'lost' end
redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
if math.abs(ARGV[5] - (seen or 0)) >= 1 then redis.call('HSET', KEYS[1], 'seen', ARGV[5]) end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'progress', ARGV[4])
  redis.call('XADD', KEYS[2], 'MAXLEN', '64', '*', 'status', status, 'progress', ARGV[4])
end
return status
