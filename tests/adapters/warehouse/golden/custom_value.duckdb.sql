-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT "day", "n"
FROM (WITH "s" AS (SELECT "day", "n" FROM "raw"."days" WHERE "day" BETWEEN $from AND $to) SELECT "day", "n" FROM "s") AS asked
WHERE "day" BETWEEN $from AND $to OR "day" IS NULL
