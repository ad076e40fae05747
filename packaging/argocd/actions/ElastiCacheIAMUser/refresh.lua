-- Any new value will do.
local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["elasticache-iam.dev/refresh"] = os.date("!%Y-%m-%dT%XZ")
return obj
