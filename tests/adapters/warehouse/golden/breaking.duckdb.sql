-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT "flight_date",
  COUNTIF(NOT ("arr_time" >= "dep_time" OR "arr_delay" > 0.5e0)),
  COUNTIF(("status" = 'flown') AND NOT ("dep_time" > 0))
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to
GROUP BY "flight_date"
