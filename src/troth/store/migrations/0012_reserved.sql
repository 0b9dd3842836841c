-- The number of another change, which takes this file's place.
SELECT 1;
