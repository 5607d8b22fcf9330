-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT `flight_date`,
  COUNT(*),
  COUNTIF(`carrier` IS NOT NULL AND `flight` IS NOT NULL) - COUNT(DISTINCT CASE WHEN `carrier` IS NOT NULL AND `flight` IS NOT NULL THEN TO_JSON_STRING(STRUCT(`carrier`, `flight`)) END),
  COUNTIF((status = 'flown') AND `carrier` IS NOT NULL AND `flight` IS NOT NULL) - COUNT(DISTINCT CASE WHEN (status = 'flown') AND `carrier` IS NOT NULL AND `flight` IS NOT NULL THEN TO_JSON_STRING(STRUCT(`carrier`, `flight`)) END)
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to
GROUP BY `flight_date`
