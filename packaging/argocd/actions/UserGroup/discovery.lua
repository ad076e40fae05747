local annotations = obj.metadata.annotations or {}
local is_paused = annotations["elasticache-iam.dev/paused"] == "true"
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
