-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT `flight_date`,
  COUNTIF(`flight_id` IS NOT NULL) - COUNT(DISTINCT `flight_id`),
  COUNTIF((status = 'flown') AND `flight_id` IS NOT NULL) - COUNT(DISTINCT CASE WHEN (status = 'flown') THEN `flight_id` END)
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to
GROUP BY `flight_date`
