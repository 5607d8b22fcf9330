-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
-- p0 INT64 0
-- p1 INT64 6000
-- p2 NUMERIC Decimal('0.5')
-- p3 FLOAT64 inf
-- p4 INT64 6000
-- p5 STRING '2013-01-01'
-- p6 INT64 0
-- p7 INT64 6000
SELECT "flight_date",
  COUNTIF(NOT ("distance" >= $p0 AND "distance" <= $p1)),
  COUNTIF(("status" = 'flown') AND NOT ("distance" >= $p2 AND "distance" <= $p3)),
  COUNTIF(NOT ("distance" <= $p4)),
  COUNTIF(NOT ("flight_date" >= $p5)),
  COUNTIF(NOT ("distance" > $p6 AND "distance" < $p7))
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to
GROUP BY "flight_date"
