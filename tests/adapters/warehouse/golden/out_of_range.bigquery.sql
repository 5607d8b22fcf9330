-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
-- p0 INT64 0
-- p1 INT64 6000
-- p2 NUMERIC Decimal('0.5')
-- p3 INT64 6000
-- p4 STRING '2013-01-01'
-- p5 INT64 0
-- p6 INT64 6000
SELECT `flight_date`,
  COUNTIF(NOT (`distance` >= @p0 AND `distance` <= @p1)),
  COUNTIF((status = 'flown') AND NOT (`distance` >= @p2)),
  COUNTIF(NOT (`distance` <= @p3)),
  COUNTIF(NOT (`flight_date` >= @p4)),
  COUNTIF(NOT (`distance` > @p5 AND `distance` < @p6))
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to
GROUP BY `flight_date`
