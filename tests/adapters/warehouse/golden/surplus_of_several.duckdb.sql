-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
WITH base AS (
SELECT "flight_date" AS day,
  COUNT(*) AS m0
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to
GROUP BY "flight_date"
), side0 AS (
SELECT day, SUM(n - 1) AS m1
FROM (
SELECT "flight_date" AS day,
  COUNT(*) AS n
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to AND "carrier" IS NOT NULL AND "flight" IS NOT NULL
GROUP BY "flight_date", "carrier", "flight"
) AS keys
GROUP BY day
), side1 AS (
SELECT day, SUM(n - 1) AS m2
FROM (
SELECT "flight_date" AS day,
  COUNT(*) AS n
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to AND "carrier" IS NOT NULL AND "flight" IS NOT NULL AND ("status" = 'flown')
GROUP BY "flight_date", "carrier", "flight"
) AS keys
GROUP BY day
)
SELECT base.day,
  m0,
  COALESCE(m1, 0),
  COALESCE(m2, 0)
FROM base
LEFT JOIN side0 ON side0.day = base.day
LEFT JOIN side1 ON side1.day = base.day
