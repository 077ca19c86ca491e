-- The source of a record is kept only where the record failed: nobody reads it otherwise. Only a comment changes.
--
-- Safe while the programs of the version before run: they read the sources of failed records, too.

comment on column record_issues.source is 'Of a failed record: the record as uploaded, secrets redacted: [[name, value], ...] in the order of the upload. Null where it did not fail, but in rows of older programs.';
