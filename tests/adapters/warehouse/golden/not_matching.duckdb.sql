-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
-- p0 STRING '^N[0-9A-Z]{1,5}$'
-- p1 STRING '^N'
SELECT "flight_date",
  COUNTIF(NOT REGEXP_MATCHES(CAST("tailnum" AS VARCHAR), $p0)),
  COUNTIF(("status" = 'flown') AND NOT REGEXP_MATCHES(CAST("tailnum" AS VARCHAR), $p1))
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to
GROUP BY "flight_date"
