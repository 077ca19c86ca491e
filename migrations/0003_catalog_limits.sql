-- The limits of a tenant's catalog. One small object a tenant; further limits need no further column.

alter table tenants add column limits jsonb not null default '{}';
comment on column tenants.limits is 'What a tenant limits: {"max_chat_limit": 10}. What is not named does not limit.';
