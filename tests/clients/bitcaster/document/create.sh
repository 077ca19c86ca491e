curl -X POST https://bitcaster.yourdomain.com/api/v1/user/my-org/ \
-H "Authorization: Token YOUR_API_KEY" \
-H "Content-Type: application/json" \
-d '{
"email": "user@company.com",
"first_name": "John",
"last_name": "Doe",
"custom_fields": {"external_id": "12345", "role": "editor"}
}'
