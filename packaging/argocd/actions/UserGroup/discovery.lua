local annotations = obj.metadata.annotations or {}
local says_yes = { ["true"] = true, ["True"] = true, ["TRUE"] = true } -- the operator takes any case
local is_paused = says_yes[annotations["elasticache-iam.dev/paused"]]
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
