obj.spec.suspend = false
if obj.metadata.annotations ~= nil then
  obj.metadata.annotations["elasticache-iam.dev/paused"] = nil
end
return obj
