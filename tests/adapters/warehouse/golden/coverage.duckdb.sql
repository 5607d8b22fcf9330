-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT a.day AS day,
  COUNT(*) AS n0,
  COUNT(b0.k0) AS n1
FROM (
SELECT DISTINCT "day" AS day, "carrier" AS k0
FROM "raw"."flights"
WHERE "day" BETWEEN $from AND $to AND "carrier" IS NOT NULL AND ("status" = 'flown')
) AS a
LEFT JOIN (
SELECT DISTINCT "flight_date" AS day, "airline" AS k0
FROM "clean"."flights"
WHERE "flight_date" BETWEEN $from AND $to AND "airline" IS NOT NULL
) AS b0 ON b0.day = a.day AND b0.k0 = a.k0
GROUP BY a.day
