-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT day,
  SUM(n0),
  SUM(n1),
  SUM(n2),
  SUM(n3),
  SUM(n4)
FROM (
SELECT a.day AS day,
  COUNT(*) AS n0,
  COUNT(*) - COUNT(b0.k0) AS n1,
  0 AS n2,
  0 AS n3,
  COUNT(*) - COUNT(b1.k0) AS n4
FROM (
SELECT "flight_date" AS day, "a" AS k0
FROM "clean"."flights"
WHERE "flight_date" BETWEEN $from AND $to AND "a" IS NOT NULL
) AS a
LEFT JOIN (
SELECT DISTINCT "day" AS day, "b" AS k0
FROM "raw"."flights"
WHERE "day" BETWEEN $from AND $to AND "b" IS NOT NULL
) AS b0 ON b0.day = a.day AND b0.k0 = a.k0
LEFT JOIN (
SELECT DISTINCT "e" AS k0
FROM "raw"."flights"
WHERE "e" IS NOT NULL
) AS b1 ON b1.k0 = a.k0
GROUP BY a.day
UNION ALL
SELECT a.day AS day,
  0 AS n0,
  0 AS n1,
  COUNT(*) AS n2,
  COUNT(b0.k0) AS n3,
  0 AS n4
FROM (
SELECT DISTINCT "day" AS day, "c" AS k0
FROM "raw"."flights"
WHERE "day" BETWEEN $from AND $to AND "c" IS NOT NULL
) AS a
LEFT JOIN (
SELECT DISTINCT "flight_date" AS day, "d" AS k0
FROM "clean"."flights"
WHERE "flight_date" BETWEEN $from AND $to AND "d" IS NOT NULL
) AS b0 ON b0.day = a.day AND b0.k0 = a.k0
GROUP BY a.day
) AS parts
GROUP BY day
