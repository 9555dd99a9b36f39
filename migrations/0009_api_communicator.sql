-- The flag of the paid option, for those whose document has it already. Inside of a text the quotes would be escaped.
UPDATE entity SET flags = flags + 64 WHERE kind = 'user' AND doc LIKE '%"apiCommunicator":true%';
