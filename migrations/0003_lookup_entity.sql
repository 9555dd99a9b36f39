-- Nobody asks for the values of one thing: they are known from its document. Every row of a first read paid for it.
DROP INDEX lookup_entity;
