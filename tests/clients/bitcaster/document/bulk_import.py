import asyncio
import httpx

API_URL = "https://bitcaster.yourdomain.com/api/v1/user/my-org/"
HEADERS = {"Authorization": "Token YOUR_API_KEY"}

async def create_user(client, user_data):
    response = await client.post(API_URL, json=user_data)
    print(f"User {user_data['email']}: {response.status_code}")

async def bulk_import(user_list):
    async with httpx.AsyncClient(headers=HEADERS) as client:
        tasks = [create_user(client, user) for user in user_list]
        await asyncio.gather(*tasks)

# List of users to import
users = [
    {"email": "user1@example.com", "first_name": "User", "last_name": "One"},
    {"email": "user2@example.com", "first_name": "User", "last_name": "Two"},
    # ... more users
]

asyncio.run(bulk_import(users))
