-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT `flight_date`,
  COUNT(*),
  BIT_XOR(CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5(CONCAT(COALESCE(CAST(`flight_id` AS STRING), '')))), 1, 15)) AS INT64)),
  BIT_XOR(CASE WHEN (status = 'flown') THEN CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5(CONCAT(COALESCE(CAST(`carrier` AS STRING), ''), CHR(31), COALESCE(CAST(`flight_date` AS STRING), '')))), 1, 15)) AS INT64) END)
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to
GROUP BY `flight_date`
