-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT "flight_date",
  COUNTIF(("carrier" IS NULL OR "flight" IS NULL)),
  COUNTIF(("status" = 'flown') AND ("carrier" IS NULL OR "flight" IS NULL))
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to
GROUP BY "flight_date"
