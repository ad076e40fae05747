local annotations = obj.metadata.annotations or {}
local says_no = { ["false"] = true, ["False"] = true, ["FALSE"] = true }
local is_paused = not says_no[annotations["elasticache-iam.dev/paused"] or "false"]
local is_going = obj.metadata.deletionTimestamp ~= nil

return {
  ["pause"] = {
    disabled = is_paused or is_going,
    iconClass = "fa fa-fw fa-pause-circle",
    displayName = "Pause: change nothing",
  },
  ["resume"] = {
    disabled = is_going or not is_paused,
    iconClass = "fa fa-fw fa-play-circle",
    displayName = "Resume",
  },
}
