-- The health of an ElastiCacheIAMUser or a UserGroup. docs/gitops.md has it as a table.
-- Argo CD lends scripts no string library: times are compared as text, which RFC 3339 in UTC allows.
local os = require("os")
local PATIENCE_S = 900 -- AWS takes minutes; what isn't done by then wants somebody's eyes

local metadata, status = obj.metadata, obj.status or {}
local annotations = metadata.annotations or {}
local says_no = { ["false"] = true, ["False"] = true, ["FALSE"] = true }
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, stalled, reconciling = conditions.Ready, conditions.Stalled, conditions.Reconciling

local function told(condition, otherwise)
  if condition == nil or condition.reason == nil then
    return otherwise
  end
  if condition.message == nil or condition.message == "" then
    return condition.reason
  end
  return condition.reason .. ": " .. condition.message
end

-- os.date shows local time; the clock is set back by as much as that differs from UTC.
local long_ago = os.date("%Y-%m-%dT%XZ", os.time(os.date("!*t")) - PATIENCE_S)
local function is_lasting(time)
  return time ~= nil and time < long_ago
end

local is_seen = (status.observedGeneration or -1) >= (metadata.generation or 0)

-- Argo CD says so itself and doesn't ask; this is for others that run its scripts.
if metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "Being deleted. " .. told(ready, "") }
end

-- At somebody's wish nothing happens.
if not says_no[annotations["elasticache-iam.dev/paused"] or "false"] then
  local pending = is_seen and "" or " An edit waits for that to end."
  return { status = "Suspended", message = "Paused: only tokens are kept fresh." .. pending .. " Last seen: " .. told(ready, "nothing") }
end
if not says_no[annotations["elasticache-iam.dev/plan-only"] or "false"] then
  if not is_seen then
    return { status = "Progressing", message = "PlanOnly: the plan isn't made yet" }
  end
  return { status = "Suspended", message = told(ready, "PlanOnly") }
end

-- What the conditions say is about an earlier edit, or nobody has looked yet.
if not is_seen then
  if (status.observedGeneration or -1) < 0 and is_lasting(metadata.creationTimestamp) then
    return { status = "Degraded", message = "The operator hasn't looked at it: does it run, and watch this namespace?" }
  end
  return { status = "Progressing", message = "Waiting for the operator to look at this generation" }
end

-- Only an edit helps.
if stalled ~= nil and stalled.status == "True" then
  return { status = "Degraded", message = told(stalled, "Stalled") }
end
if ready == nil then
  return { status = "Progressing", message = "Waiting for the operator" }
end
if ready.status == "True" then
  return { status = "Healthy", message = told(ready, "Ready") }
end
if ready.reason == "Suspended" then
  return { status = "Suspended", message = told(ready, "Suspended") }
end

-- It comes right by itself, or when somebody elsewhere does their part: a sync waits for it, though not for ever.
if (reconciling ~= nil and reconciling.status == "True") or ready.status == "Unknown" then
  if is_lasting(ready.lastTransitionTime) then
    return { status = "Degraded", message = "For more than 15 minutes. " .. told(ready, "Not ready") }
  end
  return { status = "Progressing", message = told(ready, "Not ready") }
end
return { status = "Degraded", message = told(ready, "Not ready") }
