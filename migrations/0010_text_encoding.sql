-- What the text of an import was in. It is UTF-8 as soon as it is parsed, so nothing but reports needs this.
--
-- Safe while older programs run: a column that may be null and that they do not name.

alter table imports add column encoding text collate "C";
comment on column imports.encoding is 'Encoding that the upload was read in, as the option is spelt; null for UTF-8 and until received.';
