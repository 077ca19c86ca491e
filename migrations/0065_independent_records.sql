-- Chunks of a plan look up what earlier ones would leave. Where no record can meet what another one leaves, they do not need to.
--
-- Safe while the programs of the version before run: they look it up and find nothing.

alter table imports add column independent boolean;
comment on column imports.independent is 'Each record means another user and names no other unique value, so none meets what another one leaves. Null: that is not known.';
