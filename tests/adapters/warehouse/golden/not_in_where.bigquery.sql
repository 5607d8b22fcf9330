-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
-- p0 STRING 'EWR'
-- p1 STRING 'JFK'
SELECT `flight_date`,
  COUNTIF((status = 'flown') AND `origin` NOT IN (@p0, @p1))
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to
GROUP BY `flight_date`
