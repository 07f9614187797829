-- Put at the front of the queue the first entry of the owner whose turn it is: the next one by name after the last.
-- KEYS: the queue. ARGV: the prefix of the records' keys, how far to look, the owner who had the last turn.
-- Returns the owner whose turn it is, or nil if nobody waits.
local entries = redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)
local firsts, after, smallest = {}, nil, nil
for _, entry in ipairs(entries) do
  local job = string.match(entry, '^(.-)%-%-') or entry
  local owner = redis.call('HGET', ARGV[1] .. job, 'owner') or ''
  if not firsts[owner] then
    firsts[owner] = entry
    if owner > ARGV[3] and (not after or owner < after) then after = owner end
    if not smallest or owner < smallest then smallest = owner end
  end
end
local owner = after or smallest
if owner and firsts[owner] ~= entries[1] then
  redis.call('LREM', KEYS[1], 1, firsts[owner])
  redis.call('LPUSH', KEYS[1], firsts[owner])
end
return owner
