if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["elasticache-iam.dev/paused"] = "true"
return obj
