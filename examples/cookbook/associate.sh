#!/bin/sh
# associate.sh CLUSTER NAMESPACE SERVICE_ACCOUNT ROLE_ARN: creates the association, or updates it.
set -eu
whose="--cluster-name $1 --namespace $2 --service-account $3"
id=$(aws eks list-pod-identity-associations $whose \
  --query 'associations[0].associationId' --output text)
case $id in
  None) aws eks create-pod-identity-association $whose --role-arn "$4" ;;
  *) aws eks update-pod-identity-association --cluster-name "$1" --association-id "$id" --role-arn "$4" ;;
esac
