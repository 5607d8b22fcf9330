-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
-- p0 STRING 'EWR'
-- p1 STRING 'JFK'
-- p2 INT64 0
-- p3 INT64 1
-- p4 NUMERIC Decimal('0.5')
-- p5 INT64 1
-- p6 BOOL True
SELECT `flight_date`,
  COUNTIF(`origin` NOT IN (@p0, @p1)),
  COUNTIF(`stops` NOT IN (@p2, @p3)),
  COUNTIF(`fare` NOT IN (@p4, @p5)),
  COUNTIF(`late` NOT IN (@p6))
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to
GROUP BY `flight_date`
