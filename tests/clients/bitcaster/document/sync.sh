curl -X PATCH https://bitcaster.yourdomain.com/api/v1/user/my-org/john.doe@company.com/ \
-H "Authorization: Token YOUR_API_KEY" \
-d '{
"custom_fields": {"office": "London"},
"_mode": "merge"
}'
