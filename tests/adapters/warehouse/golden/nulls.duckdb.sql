-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT "flight_date",
  COUNTIF("tailnum" IS NULL),
  COUNTIF(("status" = 'flown') AND "tailnum" IS NULL)
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to
GROUP BY "flight_date"
