local annotations = obj.metadata.annotations or {}
local is_suspended = obj.spec.suspend == true
local says_no = { ["false"] = true, ["False"] = true, ["FALSE"] = true }
local is_paused = not says_no[annotations["elasticache-iam.dev/paused"] or "false"]
local is_going = obj.metadata.deletionTimestamp ~= nil
local mints = (obj.spec.delivery or {}).mode ~= "None"

return {
  ["refresh"] = {
    disabled = is_suspended or is_going or not mints,
    iconClass = "fa fa-fw fa-sync-alt",
    displayName = "Mint new tokens",
  },
  ["suspend"] = {
    disabled = is_suspended or is_paused or is_going, -- nothing is carried out while it is paused
    iconClass = "fa fa-fw fa-ban",
    displayName = "Suspend: remove the Secrets, cut the connections",
  },
  ["pause"] = {
    disabled = is_paused or is_going,
    iconClass = "fa fa-fw fa-pause-circle",
    displayName = "Pause: change nothing, keep tokens fresh",
  },
  ["resume"] = {
    disabled = is_going or not (is_suspended or is_paused),
    iconClass = "fa fa-fw fa-play-circle",
    displayName = "Resume",
  },
}
